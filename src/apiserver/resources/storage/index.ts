import type { k8s } from "../../../api/index.ts";
import { ageColumn, boolean, integer, nameColumn, text } from "../shared/columns.ts";
import { forbidden, deepEqual, required } from "../shared/field-errors.ts";
import type { GroupKinds } from "../shared/peculiarities.ts";

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
    columns: [nameColumn, integer<k8s.CSINode>("Drivers", ({ spec }) => spec.drivers?.length ?? 0), ageColumn],
  },
  csistoragecapacities: {},
  storageclasses: {
    shortNames: ["sc"],
    fillDefaults(object) {
      const it = object as Class;
      it.reclaimPolicy ??= "Delete";
      it.volumeBindingMode ??= "Immediate";
    },
    validate: (object) => ((object as Class).provisioner ? [] : [required("provisioner")]),
    validateUpdate(object, old) {
      const [now, before] = [object as Class, old as Class];
      const errors = deepEqual(now.parameters, before.parameters)
        ? []
        : [forbidden("parameters", "updates to parameters are forbidden.")];
      if (now.provisioner !== before.provisioner)
        errors.push(forbidden("provisioner", "updates to provisioner are forbidden."));
      if (now.reclaimPolicy !== before.reclaimPolicy)
        errors.push(forbidden("reclaimPolicy", "updates to reclaimPolicy are forbidden."));
      return errors;
    },
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
    columns: [nameColumn, text<k8s.VolumeAttributesClass>("DriverName", ({ driverName }) => driverName), ageColumn],
  },
};
