export { ClassicProgress, type StreamMessage } from "./classic.ts";
export { PlainProgress } from "./plain.ts";
