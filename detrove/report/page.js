// Columns of a table are sorted by their heads: numbers first falling, names first rising.
for (const button of document.querySelectorAll('table.sortable th button')) {
  button.addEventListener('click', () => {
    const head = button.closest('th');
    const column = [...head.parentNode.children].indexOf(head);
    const body = head.closest('table').tBodies[0];
    const rows = [...body.rows];
    const order = (row) => row.cells[column].dataset.order;
    const numeric = rows.some((row) => order(row) !== undefined);
    const before = head.getAttribute('aria-sort');
    const rising = before === null ? !numeric : before === 'descending';
    for (const other of head.parentNode.children) other.removeAttribute('aria-sort');
    head.setAttribute('aria-sort', rising ? 'ascending' : 'descending');
    const value = (row) => (order(row) === undefined ? -Infinity : order(row) === '-inf' ? -Infinity : Number(order(row)));
    rows.sort((a, b) => {
      const difference = numeric
        ? (value(a) === value(b) ? 0 : value(a) - value(b))
        : rowText(a, column).localeCompare(rowText(b, column), undefined, { numeric: true });
      return rising ? difference : -difference;
    });
    body.append(...rows);
  });
}

function rowText(row, column) {
  return row.cells[column].textContent;
}
