import { kubectlTranscripts } from "./harness.ts";

// What describe prints is the client's; versions differ in which lines they have.
kubectlTranscripts("describe", { defaultOnly: true });
kubectlTranscripts("describe-all");
