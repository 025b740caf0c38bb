export { deleteSnapshot, listSnapshots, revertTo, takeSnapshot, withoutSnapshot } from "./snapshots.ts";
