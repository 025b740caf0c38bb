export { builtinKinds } from "./kinds.ts";
