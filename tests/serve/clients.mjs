// The clients of the npm registry against the server whose address is given: prints what they got.
import { createRequire } from "node:module";
import { Translate } from "translate";

const require = createRequire(import.meta.url);
const libretranslate = require("libretranslate");
const deepl = require("deepl-node");

const address = process.argv[2];
const found = {};

found.libretranslate = await libretranslate.translate({
  query: "two dogs",
  source: "en",
  target: "de",
  apiurl: address,
});

const translate = new Translate({ engine: "libre", url: `${address}/translate`, from: "en", to: "de" });
found.translate = await translate("two dogs");

const client = new deepl.Translator("any", { serverUrl: address });
const results = await client.translateText(["two dogs", "<b>one</b>"], "en", "de", { tagHandling: "html" });
found.deepl = results.map((one) => one.text);
found.deeplTargets = (await client.getTargetLanguages()).map((one) => one.code);

console.log(JSON.stringify(found));
