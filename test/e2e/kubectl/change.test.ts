import { kubectlTranscripts } from "./harness.ts";

// Without controllers nobody else writes in between.
kubectlTranscripts("change", { nodes: 0 });
