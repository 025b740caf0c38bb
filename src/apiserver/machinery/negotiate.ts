import { notAcceptableError } from "./status.ts";

/** How a client wants its answer. https://kubernetes.io/docs/reference/using-api/api-concepts/#alternate-representations-of-resources */
export interface Representation {
  readonly as: "object" | "Table" | "PartialObjectMetadata" | "PartialObjectMetadataList";
  readonly encoding: "json" | "yaml";
  /** For tables and partial metadata: the version of meta.k8s.io. */
  readonly version: string;
  /** The content type to answer with. */
  readonly contentType: string;
}

const JSON_TYPE = "application/json";
const PLAIN: Representation = { as: "object", encoding: "json", version: "v1", contentType: JSON_TYPE };
const ACCEPTED = ["application/json", "application/yaml"];
const TRANSFORMS = ["Table", "PartialObjectMetadata", "PartialObjectMetadataList"];

/** The first media type of the Accept header that we speak. Throws 406 with the list of what we do. */
export function negotiate(accept: string | undefined): Representation {
  if (accept === undefined || accept === "" || accept === JSON_TYPE || accept === "*/*") return PLAIN;
  for (const clause of accept.split(",")) {
    const found = representation(clause.trim());
    if (found) return found;
  }
  throw notAcceptableError(ACCEPTED);
}

function representation(clause: string): Representation | undefined {
  const [type = "", ...rest] = clause.split(";").map((part) => part.trim());
  const encoding = encodingOf(type);
  if (!encoding) return undefined;
  const parameters = new Map(rest.map((part) => part.split("=", 2) as [string, string]));
  const as = parameters.get("as");
  if (as === undefined) return encoding === "json" ? PLAIN : { ...PLAIN, encoding, contentType: "application/yaml" };
  const version = parameters.get("v") ?? "v1";
  const known = TRANSFORMS.includes(as) && parameters.get("g") === "meta.k8s.io" && ["v1", "v1beta1"].includes(version);
  return known ? { as: as as Representation["as"], encoding, version, contentType: JSON_TYPE } : undefined;
}

function encodingOf(type: string): Representation["encoding"] | undefined {
  if (type === JSON_TYPE || type === "application/*" || type === "*/*" || type === "text/*") return "json";
  return type === "application/yaml" || type === "text/yaml" ? "yaml" : undefined;
}
