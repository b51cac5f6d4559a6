console.log(JSON.stringify({ dish: require("@canteen/shared").dish() }));
