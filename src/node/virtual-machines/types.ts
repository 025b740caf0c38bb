import type { k8s } from "../../api/index.ts";
import { defineResource } from "../../client/index.ts";

/** berth's own resources for virtual machines; shapes near KubeVirt's where that helps who knows it. */
export const GROUP = "vm.berth.dev";
export const VERSION = "v1alpha1";
const API_VERSION = `${GROUP}/${VERSION}`;

interface Meta {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata?: k8s.ObjectMeta;
}
interface KeyOf {
  readonly name: string;
  readonly key: string;
}

/** Exactly one of them: where the first disk comes from. */
export interface VirtualMachineSource {
  /** An OCI image; its program is what the machine runs. */
  readonly image?: string;
  /** A name of `berth vm images`, or a disk image or ISO of the host by absolute path. */
  readonly disk?: string;
  readonly url?: string;
  readonly sha256?: string;
  /** A VirtualMachineBackup of the same namespace. */
  readonly backup?: string;
}

export interface VirtualMachineTemplateSpec {
  readonly source: VirtualMachineSource;
  readonly imagePullPolicy?: "Always" | "IfNotPresent" | "Never";
  /** Instead of the OCI image's arguments. */
  readonly args?: readonly string[];
  readonly cpu?: { readonly cores?: number };
  readonly memory?: { readonly guest?: string };
  readonly resources?: k8s.ResourceRequirements;
  readonly firmware?: "kernel" | "bios" | "uefi";
  /** Of the first disk, at least. */
  readonly diskSize?: string;
  /** Further, empty disks. */
  readonly disks?: ReadonlyArray<{ readonly size: string }>;
  readonly ports?: ReadonlyArray<k8s.ContainerPort>;
  readonly hostname?: string;
  readonly user?: string;
  readonly sshKeys?: readonly string[];
  readonly userData?: string;
  readonly userDataFrom?: { readonly secretKeyRef?: KeyOf; readonly configMapKeyRef?: KeyOf };
  readonly readinessProbe?: k8s.Probe;
  readonly terminationGracePeriodSeconds?: number;
  readonly nodeSelector?: Record<string, string>;
  readonly affinity?: k8s.Affinity;
  readonly tolerations?: k8s.Toleration[];
  readonly topologySpreadConstraints?: k8s.TopologySpreadConstraint[];
  readonly priorityClassName?: string;
  readonly schedulerName?: string;
}

export type RunStrategy = "Always" | "RerunOnFailure" | "Once" | "Halted";

export interface VirtualMachineStatus {
  readonly observedGeneration?: number;
  readonly printableStatus?: string;
  readonly ready?: boolean;
  readonly nodeName?: string;
  readonly podName?: string;
  readonly ipAddress?: string;
  readonly cpu?: number;
  readonly memory?: string;
  /** Name under which `berth vm` knows it. */
  readonly machine?: string;
  readonly restarts?: number;
  readonly conditions?: readonly k8s.Condition[];
}

export interface VirtualMachine extends Meta {
  readonly spec: {
    readonly running?: boolean;
    readonly runStrategy?: RunStrategy;
    readonly instancetype?: { readonly name: string };
    readonly template: {
      readonly metadata?: {
        readonly labels?: Record<string, string>;
        readonly annotations?: Record<string, string>;
      };
      readonly spec: VirtualMachineTemplateSpec;
    };
  };
  readonly status?: VirtualMachineStatus;
}

export interface VirtualMachineInstanceType extends Meta {
  readonly spec: { readonly cpu: { readonly guest: number }; readonly memory: { readonly guest: string } };
}

/** Of snapshots and backups. */
export interface CopyStatus {
  readonly phase?: "Pending" | "InProgress" | "Succeeded" | "Failed";
  readonly message?: string;
  readonly creationTime?: string;
}

export interface VirtualMachineSnapshot extends Meta {
  readonly spec: { readonly source: { readonly name: string } };
  readonly status?: CopyStatus & { readonly memory?: boolean };
}

export interface VirtualMachineBackup extends Meta {
  readonly spec: { readonly source: { readonly name: string }; readonly full?: boolean };
  readonly status?: CopyStatus & {
    readonly backup?: string;
    readonly type?: string;
    readonly consistency?: string;
  };
}

export const virtualMachines = defineResource<VirtualMachine>(API_VERSION, "virtualmachines", "VirtualMachine");
export const instanceTypes = defineResource<VirtualMachineInstanceType>(
  API_VERSION,
  "virtualmachineinstancetypes",
  "VirtualMachineInstanceType",
  false,
);
export const vmSnapshots = defineResource<VirtualMachineSnapshot>(
  API_VERSION,
  "virtualmachinesnapshots",
  "VirtualMachineSnapshot",
);
export const vmBackups = defineResource<VirtualMachineBackup>(
  API_VERSION,
  "virtualmachinebackups",
  "VirtualMachineBackup",
);

/** Keeps an object until its machine, snapshot or backup is gone from the host. */
export const FINALIZER = `${GROUP}/machine`;
/** A readiness gate of the launcher Pod: the machine in its network runs. */
export const RUNNING_GATE = `${GROUP}/machine-running`;
/** On launcher Pods, for people's selectors. */
export const VM_LABEL = `${GROUP}/name`;
/** On a VirtualMachine: the name of one of its snapshots to go back to; removed when that is done. */
export const REVERT_ANNOTATION = `${GROUP}/revert-to`;
