// Finds the lines that contain a text, and counts how often each of them occurs in the input.

static constexpr string_view kPattern = "error";

void map(string_view doc, webmesh::Emitter<uint64_t>& out) {
  // From hit to hit, not from line to line: most text contains no hit.
  for (size_t hit = doc.find(kPattern); hit != doc.npos;) {
    const size_t before = doc.rfind('\n', hit);
    const size_t start = before == doc.npos ? 0 : before + 1;
    const size_t end = std::min(doc.find('\n', hit), doc.size());
    out.emit(doc.substr(start, end - start), 1);
    hit = doc.find(kPattern, end);
  }
}

uint64_t combine(uint64_t a, uint64_t b) { return a + b; }

pair<string, uint64_t> reduce(const string line, vector<uint64_t> counts) {
  uint64_t sum = 0;
  for (uint64_t count : counts) sum += count;
  return {line, sum};
}
