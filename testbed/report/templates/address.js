// The address: #CELL?FILTER=VALUE&..., of which either part may be missing.

const coded = (name) => encodeURI(name).replaceAll('#', '%23').replaceAll('?', '%3F');
const link = (name) => `#${coded(name)}${asked()}`;

// The filters as they are, for an address; nothing where there is none.
function asked() {
  const words = new URLSearchParams(Object.entries(chosen())).toString();
  return words && `?${words}`;
}

function address() {
  const [cell, words = ''] = location.hash.slice(1).split(/\?(.*)/s);
  let name = cell;
  try {
    name = decodeURIComponent(cell);
  } catch {
    // not one of ours: no cell has that name
  }
  return { name, filters: Object.fromEntries(new URLSearchParams(words)) };
}

// Filtering changes the address and leaves no step for the back button.
function keep() {
  history.replaceState(null, '', `#${coded(address().name)}${asked()}`);
}
