const { version } = require("./package.json");
console.log(`lunch ${version} ${process.env.NODE_ENV}`);
