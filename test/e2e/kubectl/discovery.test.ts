import { kubectlTranscripts } from "./harness.ts";

kubectlTranscripts("discovery");
