//! What belongs to one machine stays there: no developer's paths, no registry hosts in our files.

use super::Problem;
use super::files::SourceFile;

/// Cargo writes its registry there by itself.
const EXEMPT: &str = "Cargo.lock";

// Each is put together here, so that this file does not find itself.
const FOLDERS: [&str; 5] = [
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/Use", "rs/"),
    concat!("/mnt", "/"),
];

const HOSTS: [&str; 6] = [
    concat!("crates", ".io"),
    concat!("py", "pi.org"),
    concat!("pythonhosted", ".org"),
    concat!("npm", "js.org"),
    concat!("npm", "js.com"),
    concat!("debian", ".org"),
];

pub(crate) fn check(files: &[SourceFile]) -> Vec<Problem> {
    let ours = files.iter().filter(|file| file.path != EXEMPT);
    ours.flat_map(|file| {
        file.lines().flat_map(move |(line, text)| {
            leaks(text).map(move |what| Problem::new(&file.path, line, what))
        })
    })
    .collect()
}

fn leaks(line: &str) -> impl Iterator<Item = String> {
    let folders = FOLDERS.iter().filter(|folder| {
        // `./…` and `a/…` are other things: a path of a machine begins here.
        let mut places = line.match_indices(**folder);
        places.any(|(at, _)| {
            !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-~}".contains(c))
        })
    });
    let folders =
        folders.map(|folder| format!("`{folder}` is a path of one machine; use a relative path"));
    let hosts = HOSTS.iter().filter(|host| line.contains(**host));
    let hosts =
        hosts.map(|host| format!("`{host}`: leave registries to their clients' configuration"));
    folders.chain(hosts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        check(&[SourceFile::new(path, text)]).iter().map(Problem::to_string).collect()
    }

    #[test]
    fn each_rule_is_seen_when_broken() {
        for folder in FOLDERS {
            let found = found("README.md", &format!("fine\ncd {folder}x\n"));
            assert!(found[0].starts_with("README.md:2: `"), "{found:?}");
        }
        for host in HOSTS {
            assert_eq!(found(".ci/run", &format!("curl https://{host}/x\n")).len(), 1, "{host}");
        }
    }

    #[test]
    fn relative_paths_and_the_lock_file_are_fine() {
        let text = format!("see ..{0}x and src{0}x\n", FOLDERS[0]);
        assert!(found("README.md", &text).is_empty());
        assert!(found(EXEMPT, &format!("https://{}\n", HOSTS[0])).is_empty());
    }
}
