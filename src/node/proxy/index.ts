export { ServiceProxy, serviceOfSlice, SLICES_BY_SERVICE, type ServiceProxyOptions } from "./proxy.ts";
