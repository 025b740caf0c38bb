import { kubectlTranscripts } from "./harness.ts";

kubectlTranscripts("rollout");
