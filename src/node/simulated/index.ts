export { simulateNodes, type SimulatedNodesOptions, simulatedNodeName, SIMULATED_LABEL } from "./nodes.ts";
export { defaultStages, type Stage } from "./stages.ts";
