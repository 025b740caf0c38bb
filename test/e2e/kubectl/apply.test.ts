import { kubectlTranscripts } from "./harness.ts";

kubectlTranscripts("apply");
