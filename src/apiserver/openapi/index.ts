import type { ApiRequest, ApiResponse } from "../../api/index.ts";
import type { Registry } from "../machinery/registry.ts";

export async function openApi(
  _registry: Registry,
  _request: ApiRequest,
  _gitVersion: string | undefined,
): Promise<ApiResponse | undefined> {
  return undefined;
}
