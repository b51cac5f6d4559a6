const test = require("node:test");
const assert = require("node:assert");
test("there is a dish", () => assert.match(require("@canteen/shared").dish(), /rice/));
