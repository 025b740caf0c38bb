import { kubectlTranscripts } from "./harness.ts";

kubectlTranscripts("create");
