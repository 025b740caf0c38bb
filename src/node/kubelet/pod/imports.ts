/** What the Pod's pure parts take from other rooms, in one place. */
import type { cri, k8s } from "../../../api/index.ts";

export { parseMilli, parseQuantity } from "../../../base/index.ts";
export type { cri, k8s };
export type Pod = k8s.Pod;
export type PodStatus = k8s.PodStatus;
export type PodCondition = k8s.PodCondition;
export type Container = k8s.Container;
export type ContainerState = k8s.ContainerState;
export type ContainerStatus = k8s.ContainerStatus;
export type Probe = k8s.Probe;
export type LifecycleHandler = k8s.LifecycleHandler;
export type ResourceRequirements = k8s.ResourceRequirements;
export type SecurityContext = k8s.SecurityContext;
export type ObjectFieldSelector = k8s.ObjectFieldSelector;
export type ResourceFieldSelector = k8s.ResourceFieldSelector;
export type Volume = k8s.Volume;
export type ConfigMap = k8s.ConfigMap;
export type Secret = k8s.Secret;
export type Service = k8s.Service;
