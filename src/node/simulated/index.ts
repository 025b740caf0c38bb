export { simulateNodes, type SimulatedNodesOptions } from "./nodes.ts";
export { defaultStages, stagesFrom, type Stage, type StageSettings, type StageTimes } from "./stages.ts";
