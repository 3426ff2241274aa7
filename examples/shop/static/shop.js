// The shop's page: shelf, cart and checkout. It knows nothing of Alhena; the cookie does the rest.
const $ = (id) => document.getElementById(id);
const { currency, products, may_unplug: mayUnplug } = await (await fetch("/api/products")).json();
const price = new Intl.NumberFormat(document.documentElement.lang, { style: "currency", currency });
const bySku = new Map(products.map((product) => [product.sku, product]));

// One request at a time, in the order of the clicks: two quick clicks on "Add" mean two pieces.
let last = Promise.resolve();
function send(method, path, body) {
  const request = async () => {
    const headers = body ? { "Content-Type": "application/json" } : {};
    const reply = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
    if (!reply.ok) throw new Error(`${reply.status}`);
    return reply.json();
  };
  const sent = last.then(request);
  last = sent.catch(() => {});
  return sent;
}

function warn(text) {
  $("trouble").textContent = text;
  $("trouble").hidden = false;
}

async function attempt(act) {
  try {
    await act();
    $("trouble").hidden = true;
  } catch {
    warn("That did not work. Please try again.");
  }
}

function copyOf(template, sku) {
  const copy = $(template).content.firstElementChild.cloneNode(true);
  copy.dataset.sku = sku;
  copy.querySelector("use").setAttribute("href", `/static/art.svg#${sku}`);
  return copy;
}

function showShelf() {
  $("shelf").replaceChildren(...products.map((product) => {
    const item = copyOf("product", product.sku);
    item.querySelector("h3").textContent = product.name;
    item.querySelector(".note").textContent = product.note;
    item.querySelector(".price > span").textContent = price.format(product.price);
    const before = item.querySelector("s");
    if (product.list_price) before.append(price.format(product.list_price));
    else before.remove();
    const add = item.querySelector("button");
    add.lastElementChild.textContent = ` ${product.name} to the cart`;
    add.addEventListener("click", () => change(product.sku, "POST", { by: 1 }));
    return item;
  }));
}

function change(sku, method, body) {
  return attempt(async () => {
    const cart = await send(method, `/api/cart/${sku}`, body);
    showCart(cart);
    const line = cart.lines.find((one) => one.sku === sku);
    $("status").textContent = `${bySku.get(sku).name}: ${line ? line.quantity : "none"} in your cart`;
  });
}

function showLine({ sku, name, quantity, total }) {
  const item = copyOf("line", sku);
  item.querySelector(".name").textContent = name;
  item.querySelector(".sum").textContent = price.format(total);
  item.querySelector("output").textContent = quantity;
  const acts = {
    fewer: ["One less", () => change(sku, "POST", { by: -1 })],
    more: ["One more", () => change(sku, "POST", { by: 1 })],
    remove: ["Remove", () => change(sku, "DELETE")],
  };
  for (const [act, [label, click]] of Object.entries(acts)) {
    const button = item.querySelector(`[data-act=${act}]`);
    button.ariaLabel = `${label}: ${name}`;
    button.addEventListener("click", click);
  }
  return item;
}

function showCart({ lines, total }) {
  const held = document.activeElement?.closest("#lines [data-act]");
  const place = held && [held.closest("li").dataset.sku, held.dataset.act];
  const count = lines.reduce((sum, line) => sum + line.quantity, 0);
  $("lines").replaceChildren(...lines.map(showLine));
  $("total").textContent = $("bar-total").textContent = price.format(total);
  $("count").textContent = count;
  $("bar-count").textContent = count === 1 ? "1 thing" : `${count} things`;
  $("filled").hidden = $("bar").hidden = count === 0;
  $("empty").hidden = count > 0;
  $("done").hidden = true;
  $("cart-title").hidden = false;
  // A keyboard stays where it was, though the line is a new one.
  if (place) ($("lines").querySelector(`[data-sku="${place[0]}"] [data-act=${place[1]}]`) ?? $("cart-title")).focus();
}

// fetch throws a TypeError where there was no answer: perhaps the order was committed all the same.
// The key, chosen before, finds it; a shop that comes back without it answers 404.
async function order(key, unplug) {
  try {
    return await send("POST", "/api/checkout", { key, unplug });
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
  }
  warn("The shop went away while it took your order. Waiting until it is back…");
  for (let times = 0; times < 120; times += 1) {
    await new Promise((wake) => setTimeout(wake, 500));
    try {
      return { survived: true, ...await send("GET", `/api/orders/${key}`) };
    } catch (error) {
      if (error instanceof TypeError) continue; // still away
      showCart(await send("GET", "/api/cart")); // it knows of no order, and carts live in memory
      throw error;
    }
  }
  throw new Error("the shop did not come back");
}

async function checkOut() {
  $("checkout").disabled = true;
  await attempt(async () => {
    const { order_id: id, lines, total, survived = false } = await order(crypto.randomUUID(), $("unplug").checked);
    showCart({ lines: [], total: "0" });
    $("empty").hidden = $("cart-title").hidden = true;
    $("order").textContent = id;
    $("survived").hidden = !survived;
    $("unplug").checked = false;
    $("bought").replaceChildren(...lines.map((line) => {
      const item = document.createElement("li");
      item.textContent = `${line.quantity} × ${line.name}`;
      return item;
    }));
    $("paid").textContent = price.format(total);
    $("done").hidden = false;
    $("thanks").focus();
  });
  $("checkout").disabled = false;
}

$("checkout").addEventListener("click", checkOut);
$("again").addEventListener("click", (event) => {
  if (event.detail > 1) return; // the second of two quick clicks on "Check out", which stood here
  showCart({ lines: [], total: "0" });
  $("products").focus();
});
$("plug").hidden = !mayUnplug;
showShelf();
await attempt(async () => showCart(await send("GET", "/api/cart")));
