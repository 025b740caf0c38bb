import { kubectlTranscripts } from "./harness.ts";

kubectlTranscripts("custom");
