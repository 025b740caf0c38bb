import { kubectlTranscripts } from "./harness.ts";

kubectlTranscripts("describe");
