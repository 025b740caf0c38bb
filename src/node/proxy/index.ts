export {
  ServiceProxy,
  serviceOfSlice,
  SLICES_BY_SERVICE,
  type ServiceProxyOptions,
  type ServiceSource,
  type SliceSource,
} from "./proxy.ts";
export type { LocalhostClash } from "./localhost-ports.ts";
