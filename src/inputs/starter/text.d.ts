// Files that are built in as text: `import text from "../../file" with { type: "text" }`.
declare module "*.txt" {
  const text: string
  export default text
}
