import { useEffect, useState } from "react";
import { createRoot } from "react-dom/client";

function Dishes() {
  const [dishes, setDishes] = useState<string[]>([]);
  useEffect(() => {
    fetch("/dishes").then((answer) => answer.json()).then(setDishes);
  }, []);
  return <ul>{dishes.map((dish) => <li key={dish}>{dish}</li>)}</ul>;
}

createRoot(document.getElementById("page")!).render(<Dishes />);
