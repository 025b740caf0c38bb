import type { k8s } from "../../../api/index.ts";
import { ageColumn, boolean, integer, nameColumn, text } from "../shared/columns.ts";
import type { GroupKinds } from "../shared/peculiarities.ts";
import {
  validateAttachment,
  validateAttachmentChange,
  validateAttributesClass,
  validateAttributesClassChange,
  validateCapacity,
  validateCapacityChange,
  validateCsiDriver,
  validateCsiDriverChange,
  validateCsiNode,
  validateStorageClass,
  validateStorageClassChange,
} from "./validation.ts";

type Class = k8s.StorageClass;
type Driver = k8s.CSIDriver;
type Attachment = k8s.VolumeAttachment;

const isDefault = ({ annotations }: k8s.ObjectMeta): boolean =>
  annotations?.["storageclass.kubernetes.io/is-default-class"] === "true" ||
  annotations?.["storageclass.beta.kubernetes.io/is-default-class"] === "true";
const marked = ({ metadata }: { metadata: k8s.ObjectMeta }): string =>
  `${metadata.name}${isDefault(metadata) ? " (default)" : ""}`;

export const storageKinds: GroupKinds = {
  csidrivers: {
    fillDefaults(object) {
      const spec = ((object as Driver).spec ??= {});
      spec.attachRequired ??= true;
      spec.podInfoOnMount ??= false;
      spec.storageCapacity ??= false;
      spec.fsGroupPolicy ??= "ReadWriteOnceWithFSType";
      spec.volumeLifecycleModes ??= ["Persistent"];
      spec.requiresRepublish ??= false;
      spec.seLinuxMount ??= false;
    },
    validate: validateCsiDriver,
    validateUpdate: (object, old) => validateCsiDriverChange(object as Driver, old as Driver),
    columns: [
      nameColumn,
      boolean<Driver>("AttachRequired", ({ spec }) => spec.attachRequired ?? true),
      boolean<Driver>("PodInfoOnMount", ({ spec }) => spec.podInfoOnMount ?? false),
      boolean<Driver>("StorageCapacity", ({ spec }) => spec.storageCapacity ?? false),
      text<Driver>(
        "TokenRequests",
        ({ spec }) => (spec.tokenRequests ?? []).map(({ audience }) => audience).join(",") || "<unset>",
      ),
      boolean<Driver>("RequiresRepublish", ({ spec }) => spec.requiresRepublish ?? false),
      text<Driver>("Modes", ({ spec }) => (spec.volumeLifecycleModes ?? []).join(",") || "<none>"),
      ageColumn,
    ],
  },
  csinodes: {
    validate: validateCsiNode,
    columns: [nameColumn, integer<k8s.CSINode>("Drivers", ({ spec }) => spec.drivers?.length ?? 0), ageColumn],
  },
  csistoragecapacities: {
    validate: validateCapacity,
    validateUpdate: (object, old) =>
      validateCapacityChange(object as k8s.CSIStorageCapacity, old as k8s.CSIStorageCapacity),
  },
  storageclasses: {
    shortNames: ["sc"],
    fillDefaults(object) {
      const it = object as Class;
      it.reclaimPolicy ??= "Delete";
      it.volumeBindingMode ??= "Immediate";
    },
    validate: validateStorageClass,
    validateUpdate: (object, old) => validateStorageClassChange(object as Class, old as Class),
    columns: [
      { ...nameColumn, cell: (object) => marked(object) },
      text<Class>("Provisioner", ({ provisioner }) => provisioner),
      text<Class>("ReclaimPolicy", ({ reclaimPolicy }) => reclaimPolicy ?? "Delete"),
      text<Class>("VolumeBindingMode", ({ volumeBindingMode }) => volumeBindingMode ?? "Immediate"),
      boolean<Class>("AllowVolumeExpansion", ({ allowVolumeExpansion }) => allowVolumeExpansion ?? false),
      ageColumn,
    ],
  },
  volumeattachments: {
    validate: validateAttachment,
    validateUpdate: (object, old, { subresource }) =>
      subresource === "status" ? [] : validateAttachmentChange(object as Attachment, old as Attachment),
    columns: [
      nameColumn,
      text<Attachment>("Attacher", ({ spec }) => spec.attacher),
      text<Attachment>("PV", ({ spec }) => spec.source.persistentVolumeName ?? ""),
      text<Attachment>("Node", ({ spec }) => spec.nodeName),
      boolean<Attachment>("Attached", ({ status }) => status?.attached ?? false),
      ageColumn,
    ],
  },
  volumeattributesclasses: {
    shortNames: ["vac"],
    validate: validateAttributesClass,
    validateUpdate: (object, old) =>
      validateAttributesClassChange(object as k8s.VolumeAttributesClass, old as k8s.VolumeAttributesClass),
    columns: [nameColumn, text<k8s.VolumeAttributesClass>("DriverName", ({ driverName }) => driverName), ageColumn],
  },
};
