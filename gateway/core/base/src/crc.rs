//! Joining checksums: the CRC32C of two pieces from those of each, without reading them again.
//!
//! A CRC is a remainder of polynomials over GF(2), here with the bits reversed: bit 31 is the coefficient of x^0. Putting
//! `n` bytes behind a piece multiplies it by x^(8n), and x^(8n) is a product of squares of x that are known beforehand.

/// The polynomial of CRC32C, bits reversed.
const POLYNOMIAL: u32 = 0x82f6_3b78;
const ONE: u32 = 1 << 31;
/// Bits of a length in bytes, and three more for its bits.
const POWERS: usize = 48;

/// x^(2^n) for each n.
const SQUARES: [u32; POWERS] = {
    let mut table = [0; POWERS];
    table[0] = ONE >> 1;
    let mut n = 1;
    while n < POWERS {
        table[n] = multiply(table[n - 1], table[n - 1]);
        n += 1;
    }
    table
};

/// Product of two remainders.
const fn multiply(a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    let mut bit = ONE;
    while bit != 0 {
        if a & bit != 0 {
            product ^= b;
        }
        b = if b & 1 != 0 { (b >> 1) ^ POLYNOMIAL } else { b >> 1 };
        bit >>= 1;
    }
    product
}

/// CRC32C of a piece with the checksum `first` followed by one of `second_len` bytes with the checksum `second`.
/// `second_len` is below 2^45.
#[must_use]
pub const fn combine(first: u32, second: u32, second_len: u64) -> u32 {
    let mut shifted = first;
    let mut left = second_len;
    let mut n = 3;
    while left != 0 && n < POWERS {
        if left & 1 != 0 {
            shifted = multiply(SQUARES[n], shifted);
        }
        left >>= 1;
        n += 1;
    }
    shifted ^ second
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One bit after the other, as the definition says.
    fn crc32c(bytes: &[u8]) -> u32 {
        let step = |crc: u32, _| {
            if crc & 1 != 0 {
                (crc >> 1) ^ POLYNOMIAL
            } else {
                crc >> 1
            }
        };
        !bytes
            .iter()
            .fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
    }

    #[test]
    fn joins_pieces_of_any_length() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283, "the published check value");
        let bytes: Vec<u8> = (0..5000u32).map(|n| (n * 31 % 251) as u8).collect();
        for split in [0, 1, 2, 31, 32, 1000, 4096, 4999, 5000] {
            let (a, b) = bytes.split_at(split);
            assert_eq!(
                combine(crc32c(a), crc32c(b), b.len() as u64),
                crc32c(&bytes),
                "{split}"
            );
        }
    }
}
