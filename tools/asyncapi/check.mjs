// Checks an AsyncAPI document and everything it refers to with the reference
// parser: node check.mjs <document>. Exits 1 on any error or warning.
import { fromFile, Parser } from '@asyncapi/parser';

const document = process.argv[2];
const { diagnostics } = await fromFile(new Parser(), document).parse();

// Severity 2 and 3 are advice about style: shown, and no failure.
let failures = 0;
for (const { severity, code, message, path, range } of diagnostics) {
  if (severity <= 1) failures++;
  console.log(`${document}:${range.start.line + 1}: ${code}: ${message} (${path.join('.')})`);
}
if (failures > 0) {
  console.log(`${failures} finding(s) in ${document}`);
  process.exit(1);
}
console.log(`${document}: valid`);
