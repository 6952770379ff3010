// An inverted index: for each word, the sorted names of the documents that hold it. The first line of a document is its
// name. A word is a run of ASCII letters, ASCII digits and bytes over 127; ASCII letters are converted to lower case.

static bool in_word(unsigned char letter) { return isalnum(letter) || letter >= 0x80; }

void map(string_view doc, webmesh::Emitter<string>& out) {
  const size_t line = std::min(doc.find('\n'), doc.size());
  string name(doc.substr(0, line));
  if (name.ends_with('\r')) name.pop_back();

  unordered_set<string> words;
  string word;
  for (size_t at = line; at <= doc.size(); ++at) {
    if (at < doc.size() && in_word(doc[at])) {
      word.push_back(static_cast<unsigned char>(doc[at]) < 0x80 ? tolower(doc[at]) : doc[at]);
    } else if (!word.empty()) {
      words.insert(word);
      word.clear();
    }
  }
  for (const string& each : words) out.emit(each, name);
}

pair<string, vector<string>> reduce(const string word, vector<string> names) {
  sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return {word, names};
}
