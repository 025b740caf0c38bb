import { kubectlTranscripts } from "./harness.ts";

kubectlTranscripts("delete");
