import type { GroupKinds } from "../shared/peculiarities.ts";
import { customResourceDefinition } from "./crd.ts";

export const apiextensionsKinds: GroupKinds = { customresourcedefinitions: customResourceDefinition };
