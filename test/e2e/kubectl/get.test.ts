import { kubectlTranscripts } from "./harness.ts";

kubectlTranscripts("get");
