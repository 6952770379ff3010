//! Formats that no job reads as text, recognised by the first bytes of a file.

/// Number of bytes that are looked at.
pub(super) const HEAD_BYTES: usize = 10;

/// A format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// gzip (RFC 1952).
    Gzip,
    /// The `compress` of Unix.
    Compress,
    /// bzip2.
    Bzip2,
    /// xz.
    Xz,
    /// Zstandard (RFC 8878).
    Zstd,
    /// The frames of LZ4.
    Lz4,
    /// A ZIP archive.
    Zip,
    /// A 7z archive.
    SevenZip,
    /// UTF-16 with a byte order mark, of either order.
    Utf16,
    /// UTF-32 with a byte order mark, of either order.
    Utf32,
}

impl Format {
    /// The format of a file that begins with `head`; `None` for anything else, such as plain text.
    pub(super) fn of(head: &[u8]) -> Option<Self> {
        let starts = |magic: &[u8]| head.starts_with(magic);
        let found = match head.first()? {
            0x1f if starts(&[0x1f, 0x8b, 8]) => Self::Gzip,
            0x1f if starts(&[0x1f, 0x9d]) => Self::Compress,
            b'B' if is_bzip2(head) => Self::Bzip2,
            0xfd if starts(b"\xfd7zXZ\0") => Self::Xz,
            0x28 if starts(&[0x28, 0xb5, 0x2f, 0xfd]) => Self::Zstd,
            0x04 if starts(&[0x04, 0x22, 0x4d, 0x18]) => Self::Lz4,
            b'P' if starts(b"PK\x03\x04") || starts(b"PK\x05\x06") => Self::Zip,
            b'7' if starts(b"7z\xbc\xaf\x27\x1c") => Self::SevenZip,
            // The byte order mark of UTF-32 in this order begins with that of UTF-16.
            0xff if starts(&[0xff, 0xfe, 0, 0]) => Self::Utf32,
            0 if starts(&[0, 0, 0xfe, 0xff]) => Self::Utf32,
            0xff if starts(&[0xff, 0xfe]) => Self::Utf16,
            0xfe if starts(&[0xfe, 0xff]) => Self::Utf16,
            _ => return None,
        };
        Some(found)
    }

    /// Its name for the user.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Compress => "compress",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
            Self::Zip => "ZIP",
            Self::SevenZip => "7z",
            Self::Utf16 => "UTF-16",
            Self::Utf32 => "UTF-32",
        }
    }

    /// Whether it is text, in an encoding other than UTF-8.
    pub fn is_text(self) -> bool {
        matches!(self, Self::Utf16 | Self::Utf32)
    }

    /// The command that writes the content of a file of this format, as UTF-8 if it is text; `file` is a word of a
    /// shell command.
    pub(super) fn unpacked_by(self, file: &str) -> String {
        let plain = file.trim_end_matches('\'').to_ascii_lowercase();
        let is_tar =
            plain.contains(".tar.") || [".tgz", ".tbz2", ".txz", ".tzst"].iter().any(|end| plain.ends_with(end));
        match self {
            Self::Gzip | Self::Compress | Self::Bzip2 | Self::Xz | Self::Zstd if is_tar => format!("tar -xOf {file}"),
            Self::Gzip | Self::Compress => format!("zcat {file}"),
            Self::Bzip2 => format!("bzcat {file}"),
            Self::Xz => format!("xzcat {file}"),
            Self::Zstd => format!("zstdcat {file}"),
            Self::Lz4 => format!("lz4cat {file}"),
            Self::Zip => format!("unzip -p {file}"),
            Self::SevenZip => format!("7z x -so {file}"),
            Self::Utf16 => format!("iconv -f UTF-16 -t UTF-8 {file}"),
            Self::Utf32 => format!("iconv -f UTF-32 -t UTF-8 {file}"),
        }
    }
}

/// `BZh`, a level, and the magic number of a first block or of the end: letters alone might begin a text.
fn is_bzip2(head: &[u8]) -> bool {
    const BLOCK: &[u8] = &[0x31, 0x41, 0x59, 0x26, 0x53, 0x59];
    const END: &[u8] = &[0x17, 0x72, 0x45, 0x38, 0x50, 0x90];
    head.starts_with(b"BZh") && head.get(4..10).is_some_and(|mark| mark == BLOCK || mark == END)
}
