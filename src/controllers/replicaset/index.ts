export { replicaSetController, replicationController } from "./controller.ts";
