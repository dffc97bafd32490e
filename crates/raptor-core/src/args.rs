//! What can stand as an argument of a command or a script: numbers and bytes, one way to write each.

use bytes::Bytes;

use crate::keys::Key;

/// A value that can be sent. Numbers go as decimal text.
pub trait ToArg {
    /// The bytes to send.
    fn to_arg(self) -> Bytes;
}

impl ToArg for Bytes {
    fn to_arg(self) -> Bytes {
        self
    }
}

impl ToArg for &Bytes {
    fn to_arg(self) -> Bytes {
        self.clone()
    }
}

impl ToArg for &Key {
    fn to_arg(self) -> Bytes {
        self.bytes()
    }
}

impl ToArg for &str {
    fn to_arg(self) -> Bytes {
        Bytes::copy_from_slice(self.as_bytes())
    }
}

impl ToArg for String {
    fn to_arg(self) -> Bytes {
        Bytes::from(self)
    }
}

impl ToArg for &String {
    fn to_arg(self) -> Bytes {
        self.as_str().to_arg()
    }
}

impl ToArg for Vec<u8> {
    fn to_arg(self) -> Bytes {
        Bytes::from(self)
    }
}

impl ToArg for &[u8] {
    fn to_arg(self) -> Bytes {
        Bytes::copy_from_slice(self)
    }
}

impl<const N: usize> ToArg for &[u8; N] {
    fn to_arg(self) -> Bytes {
        Bytes::copy_from_slice(self)
    }
}

macro_rules! integer_to_arg {
    ($($int:ty),*) => {$(
        impl ToArg for $int {
            fn to_arg(self) -> Bytes {
                Bytes::from(self.to_string())
            }
        }
    )*};
}
integer_to_arg!(i32, i64, i128, u8, u16, u32, u64, u128, usize);
