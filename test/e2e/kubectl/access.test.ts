import { kubectlTranscripts } from "./harness.ts";

kubectlTranscripts("access");
