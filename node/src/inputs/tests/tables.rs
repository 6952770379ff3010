//! Tables are cut between records.

use super::super::Topic;
use super::*;

/// The ends of records, found by a straightforward scan from the beginning.
fn record_ends(table: &[u8]) -> Vec<usize> {
    let (mut ends, mut quoted, mut field_begins, mut i) = (Vec::new(), false, true, 0);
    while i < table.len() {
        let byte = table[i];
        if quoted {
            match (byte, table.get(i + 1)) {
                (b'"', Some(b'"')) => i += 1,
                (b'"', _) => quoted = false,
                _ => {}
            }
        } else if byte == b'"' && field_begins {
            quoted = true;
        } else if byte == b'\n' {
            ends.push(i + 1);
        }
        field_begins = matches!(byte, b',' | b';' | b'\t' | b'|' | b'\n' | b'\r') && !quoted;
        i += 1;
    }
    ends
}

/// The rule for cuts, applied to records.
fn cut_by_the_rule(table: &[u8], chunk: usize) -> Vec<Vec<u8>> {
    let (mut documents, mut start) = (Vec::new(), 0);
    if table.len() > chunk + chunk / 2 {
        let ends = record_ends(table);
        for multiple in (chunk..).step_by(chunk).take_while(|m| table.len() - m.min(&table.len()) >= chunk.div_ceil(2))
        {
            let end = ends.iter().copied().find(|&end| end >= multiple).unwrap_or(table.len());
            if end > start && end < table.len() {
                documents.push(table[start..end].to_vec());
                start = end;
            }
        }
    }
    documents.push(table[start..].to_vec());
    documents
}

/// A table of `rows` records from pieces with every significant character.
fn table(rows: usize, mut number: impl FnMut(usize) -> usize) -> Vec<u8> {
    const PIECES: [&str; 8] = ["good", "so, so", "\n", "\"fine\"", "", "a\r\nb", "\"", "x\ty;z"];
    let mut table = Vec::new();
    for row in 0..rows {
        let text: String = (0..number(6)).map(|_| PIECES[number(PIECES.len())]).collect();
        let end = ["\n", "\r\n"][number(2)];
        table.extend_from_slice(format!("{row},\"{}\",5\" disk{end}", text.replace('"', "\"\"")).as_bytes());
    }
    table
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn tables_are_cut_between_records_by_the_rule(
        choices in prop::collection::vec(0usize..1000, 1..400),
        chunk in prop::sample::select(vec![1u64, 3, 20, 150]),
        mark in any::<bool>(),
    ) {
        let mut at = 0;
        let mut bytes = if mark { b"\xef\xbb\xbf".to_vec() } else { Vec::new() };
        bytes.extend(table(choices.len() / 4, |n| { at += 1; choices[at % choices.len()] % n }));
        let dir = folder(&[("t.csv", &bytes)]);
        let plan = planned(&[dir.path()], &with(chunk, None)).unwrap();
        let expected = if mark {
            // The byte order mark is not part of the first field.
            let mut documents = cut_by_the_rule(&[b"   ", &bytes[3..]].concat(), chunk as usize);
            documents[0].splice(..3, *b"\xef\xbb\xbf");
            documents
        } else {
            cut_by_the_rule(&bytes, chunk as usize)
        };
        prop_assert_eq!(documents(&plan), expected);
        prop_assert!(plan.notes.is_empty());
    }
}

#[test]
fn a_large_table_is_cut_alike_by_any_number_of_threads_and_step_by_step() {
    let mut state = 7u64;
    let mut random = move |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    // Several spans, and quotes everywhere that they may end.
    let bytes = table(1_200_000, &mut random);
    assert!(bytes.len() > 17 << 20, "{}", bytes.len());
    let dir = folder(&[("t.CSV", &bytes), ("t.txt", &bytes)]);
    let (table, text) = (dir.path().join("t.CSV"), dir.path().join("t.txt"));
    for chunk in [1000, 512 * 1024] {
        let one = planned(&[&table], &Options { threads: 1, ..with(chunk, None) }).unwrap();
        let four = planned(&[&table], &Options { threads: 4, ..with(chunk, None) }).unwrap();
        assert_eq!(one.inputs, four.inputs);
        let ends: std::collections::HashSet<usize> = record_ends(&bytes).into_iter().collect();
        let mut at = 0;
        for document in documents(&one) {
            at += document.len();
            assert!(ends.contains(&at) || at == bytes.len(), "a cut at {at} is within a record");
        }
        assert_eq!(at, bytes.len());
        // By its name it is a text, cut at line ends, unless the options say otherwise.
        let lines = planned(&[&text], &with(chunk, None)).unwrap();
        assert_ne!(documents(&lines), documents(&one));
        let by_option = planned(&[&text], &Options { csv: true, ..with(chunk, None) }).unwrap();
        assert_eq!(by_option.inputs, one.inputs);
    }
}

#[test]
fn a_table_with_an_unterminated_quote_is_cut_with_a_note() {
    // One record without end, followed by plain ones.
    let bytes = ["a,\"open\n".to_owned(), "1,2,3\n".repeat(1 << 20)].concat();
    let dir = folder(&[("t.csv", bytes.as_bytes())]);
    let plan = planned(&[dir.path()], &Options::default()).unwrap();
    assert_eq!(documents(&plan).concat(), bytes.as_bytes());
    let longest = documents(&plan).iter().map(Vec::len).max().unwrap();
    assert!(longest < 2 << 20, "{longest}");
    assert_eq!(plan.notes.len(), 1);
    assert_eq!(plan.notes[0].topic, Topic::Quotes);
    assert!(plan.notes[0].text().contains("t.csv"), "{}", plan.notes[0].text());
    // A stray quote within a field opens none.
    let stray = "5\" disk,3\n".repeat(1 << 18);
    fs::write(dir.path().join("t.csv"), stray).unwrap();
    assert_eq!(planned(&[dir.path()], &Options::default()).unwrap().notes, []);
}
