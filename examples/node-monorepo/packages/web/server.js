console.log(`<h1>${require("@canteen/shared").dish()}</h1>`);
