// Multiplies two matrices. README.md describes the input's format.
//
// This is the naive algorithm: each number is sent to every cell of the product that it contributes to, so for n x n
// matrices 2 n^3 pairs go through the shuffle. A cell gets its numbers as pairs of k and value, two for each k.

vector<pair<string, pair<int, float>>> map(const string mat) {
  vector<pair<string, pair<int, float>>> parts;
  istringstream lines(mat);
  for (string line; getline(lines, line);) {
    istringstream row(line);
    char name;
    int index, others;
    if (!(row >> name >> index >> others)) continue;
    if (name != 'A' && name != 'B') throw std::invalid_argument("a line must start with A or B: " + line.substr(0, 40));
    int position = 0;
    for (float value; row >> value; ++position) {
      for (int other = 0; other < others; ++other) {
        if (name == 'A') {  // a row i of A: the value at k goes to all cells (i, j)
          parts.push_back({to_string(index) + "," + to_string(other), {position, value}});
        } else {  // a row k of B: the value at j goes to all cells (i, j)
          parts.push_back({to_string(other) + "," + to_string(position), {index, value}});
        }
      }
    }
  }
  return parts;
}

pair<string, float> reduce(const string key, vector<pair<int, float>> vals) {
  // In the order of k, so that the sum does not depend on the order of arrival.
  sort(vals.begin(), vals.end());
  double sum = 0;
  for (size_t i = 1; i < vals.size(); ++i) {
    if (vals[i - 1].first == vals[i].first) sum += double(vals[i - 1].second) * vals[i].second;
  }
  return {key, float(sum)};
}
