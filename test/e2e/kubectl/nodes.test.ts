import { kubectlTranscripts } from "./harness.ts";

kubectlTranscripts("nodes");
