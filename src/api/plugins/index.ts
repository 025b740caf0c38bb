import path from "node:path";

const file = (name: string): string => path.join(import.meta.dirname, name);

/** What the node plugins speak, for a loader of .proto files. */
export const PLUGIN_PROTOS: Readonly<
  Record<"csi" | "registration" | "deviceplugin" | "podresources" | "dra" | "draV1beta1", string>
> = {
  csi: file("csi.proto"),
  registration: file("registration.proto"),
  deviceplugin: file("deviceplugin.proto"),
  podresources: file("podresources.proto"),
  dra: file("dra.proto"),
  draV1beta1: file("dra-v1beta1.proto"),
};
