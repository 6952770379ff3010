// Estimates pi by throwing points at a square and counting those inside the circle. It reads no input: run with
// `--tasks N`, each task's document is its own number, "0" to "N-1", and seeds its own generator with it. All counting
// is in integers, so anyone can reproduce the result.

static constexpr uint64_t kPointsPerTask = 1'000'000;

struct Tally {
  uint64_t hits;
  uint64_t points;
};

struct Estimate {
  double pi;
  uint64_t hits;
  uint64_t points;
};

// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
static uint64_t next_random(uint64_t& state) {
  uint64_t word = state += 0x9e3779b97f4a7c15;
  word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9;
  word = (word ^ (word >> 27)) * 0x94d049bb133111eb;
  return word ^ (word >> 31);
}

void map(string_view task, webmesh::Emitter<Tally>& out) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(task.data(), task.data() + task.size(), number);
  if (error != std::errc()) throw std::invalid_argument("run this job with --tasks N, not with input");

  // Adjacent task numbers must not give overlapping streams.
  uint64_t state = next_random(number);
  uint64_t hits = 0;
  for (uint64_t point = 0; point < kPointsPerTask; ++point) {
    // Both coordinates from one number: 31 bits each, on a circle of radius 2^31.
    const uint64_t random = next_random(state);
    const uint64_t x = random >> 33, y = random & 0x7fffffff;
    hits += x * x + y * y < uint64_t{1} << 62;
  }
  out.emit("pi", {hits, kPointsPerTask});
}

Tally combine(Tally a, Tally b) { return {a.hits + b.hits, a.points + b.points}; }

pair<string, Estimate> reduce(const string key, vector<Tally> tallies) {
  Tally sum{};
  for (const Tally& tally : tallies) sum = combine(sum, tally);
  return {key, {4.0 * sum.hits / sum.points, sum.hits, sum.points}};
}
