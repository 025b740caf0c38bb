export { Catalogue } from "./catalogue.ts";
