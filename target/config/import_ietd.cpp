#include <fmt/format.h>

#include "base/config_text.hpp"
#include "target/config/import_writer.hpp"
#include "target/config/settings_table.hpp"
#include "wire/iscsi_text.hpp"

namespace mpath::target {
namespace {

class IetdImport {
 public:
  explicit IetdImport(const std::string& file) : writer_(file) {}

  void line(const std::vector<std::string>& words, unsigned number) {
    const std::string key = import_lower(words[0]);
    std::string rest;
    for (std::size_t at = 1; at < words.size(); ++at) rest += (at > 1 ? " " : "") + words[at];
    if (key == "target") {
      if (words.size() != 2) return writer_.lost(number, words[0], "a target has one name");
      return writer_.begin_target(import_lower(words[1]));
    }
    if (!writer_.in_target()) return global(words, number);
    if (key == "lun") return lun(words, number);
    if (key == "incominguser" || key == "outgoinguser") return user(words, number);
    if (rest.empty()) return writer_.lost(number, words[0], "has no value");
    const std::string_view ours = ours_of_ietd(words[0]);
    if (ours.empty()) return writer_.lost(number, words[0] + " " + rest, "is unknown here");
    const Setting* setting = target_settings().find("target", ours);
    if (setting->type == SettingType::ignored)
      return writer_.note(number, words[0] + " " + rest, fmt::format("not needed: {}", setting->doc));
    if (const auto wrong = check_setting(*setting, rest)) return writer_.lost(number, words[0] + " " + rest, *wrong);
    writer_.in_target(fmt::format("{} {}", ours, config_quoted(rest)));
  }

  Imported finish() { return writer_.finish(); }

 private:
  void global(const std::vector<std::string>& words, unsigned number) {
    const std::string key = import_lower(words[0]);
    const bool incoming = key == "incominguser";
    if (incoming || key == "outgoinguser") {
      if (words.size() < 3) return writer_.lost(number, words[0], "needs a user and a secret");
      return writer_.discovery(fmt::format("{} {} {}", incoming ? "incoming_user" : "outgoing_user",
                                           config_quoted(words[1]), config_quoted(words[2])));
    }
    std::string all = words[0];
    for (std::size_t at = 1; at < words.size(); ++at) all += " " + words[at];
    writer_.lost(number, all, key.starts_with("isns") ? "iSNS is not spoken here" : "stands outside of a target");
  }

  void user(const std::vector<std::string>& words, unsigned number) {
    if (words.size() == 1) return;  // "nobody" in ietd's way
    if (words.size() < 3) return writer_.lost(number, words[0], "needs a user and a secret");
    const bool incoming = import_lower(words[0]) == "incominguser";
    writer_.in_target(fmt::format("{} {} {}", incoming ? "incoming_user" : "outgoing_user", config_quoted(words[1]),
                                  config_quoted(words[2])));
  }

  void lun(const std::vector<std::string>& words, unsigned number) {
    if (words.size() < 3) return writer_.lost(number, "Lun", "needs a number and Path=...");
    std::string path, type = "fileio", mode = "wb", sectors, block = "512";
    for (const std::string_view part : iscsi::split_list(words[2])) {
      const std::size_t equals = std::min(part.find('='), part.size());
      const std::string key = import_lower(part.substr(0, equals));
      const std::string value(part.substr(std::min(equals + 1, part.size())));
      if (key == "path")
        path = value;
      else if (key == "type")
        type = import_lower(value);
      else if (key == "iomode")
        mode = import_lower(value);
      else if (key == "sectors")
        sectors = value;
      else if (key == "blocksize")
        block = value;
      else if (key == "scsiid" || key == "scsisn")
        writer_.lost(number, part, "identities come from a UUID made with the unit: initiators see a new disk");
      else
        writer_.lost(number, part, "is unknown here");
    }
    std::vector<std::string> lines;
    if (type == "nullio") {
      const auto count = iscsi::parse_number(sectors).value_or(std::uint64_t{1} << 21);
      lines = {"type null", fmt::format("size {}", count * (block == "4096" ? 4096 : 512))};
    } else if (type == "fileio" || type == "blockio") {
      if (path.empty()) return writer_.lost(number, "Lun " + words[1], "has no Path");
      // ietd's fileio is also used on devices.
      const bool device = type == "blockio" || path.starts_with("/dev/");
      lines = {fmt::format("path {}", config_quoted(path)), fmt::format("type {}", device ? "block" : "file")};
    } else {
      return writer_.lost(number, words[2], fmt::format("Type={} is unknown here", type));
    }
    if (block == "4096" || block == "512") {
      if (block == "4096") lines.emplace_back("block_size 4096");
    } else {
      writer_.lost(number, "BlockSize=" + block, "only 512 and 4096 are possible");
    }
    if (mode == "ro") lines.emplace_back("read_only yes");
    if (mode == "wt") lines.emplace_back("write_cache no");
    const std::string name = writer_.unit(number, unit_name_of_path(path.empty() ? "null" : path), lines);
    writer_.in_target(fmt::format("lun {} {}", words[1], name));
  }

  ImportWriter writer_;
};

}  // namespace

Imported import_ietd(std::string_view text, const std::string& file) {
  IetdImport import(file);
  for (unsigned number = 1; !text.empty(); ++number) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const auto words = import_words(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (!words.empty()) import.line(words, number);
  }
  return import.finish();
}

}  // namespace mpath::target
