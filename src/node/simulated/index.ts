export { simulateNodes, type SimulatedNodesOptions, simulatedNodeName, SIMULATED_LABEL } from "./nodes.ts";
export { defaultStages, stagesFrom, type Stage, type StageSettings, type StageTimes } from "./stages.ts";
