#include "target/config/import_writer.hpp"

#include <fmt/format.h>

#include <cctype>

#include "base/config_text.hpp"

namespace mpath::target {

std::string ImportWriter::unit(unsigned line, std::string_view wanted, const std::vector<std::string>& lines) {
  // Two units would fight for one medium: whoever names it again gets the unit that is there.
  const bool on_medium = !lines.empty() && lines.front().starts_with("path ");
  if (const auto known = on_medium ? media_.find(lines.front()) : media_.end(); known != media_.end()) {
    if (known->second.lines != lines)
      lost(line, lines.front(), fmt::format("is lu {} already, whose settings count", known->second.name));
    return known->second.name;
  }
  std::string name(wanted);
  for (unsigned number = 2; !names_.insert(name).second; ++number) name = fmt::format("{}-{}", wanted, number);
  if (on_medium) media_[lines.front()] = {name, lines};
  units_ += fmt::format("lu {} {{\n", name);
  for (const std::string& each : lines) units_ += "  " + each + "\n";
  units_ += "}\n";
  return name;
}

void ImportWriter::begin_target(const std::string& name) {
  targets_.push_back({name, {}});
}

void ImportWriter::in_target(std::string line) {
  targets_.back().lines.push_back(std::move(line));
}

void ImportWriter::lost(unsigned line, std::string_view what, std::string_view why) {
  ++lost_;
  comment(line, what, why);
}

void ImportWriter::note(unsigned line, std::string_view what, std::string_view why) {
  comment(line, what, why);
}

void ImportWriter::comment(unsigned line, std::string_view what, std::string_view why) {
  std::string text = fmt::format("# {}:{}: {}: {}", file_, line, what, why);
  if (in_target())
    in_target(std::move(text));
  else
    comments_.push_back(std::move(text));
}

Imported ImportWriter::finish() {
  Imported result{.text = fmt::format("# From {}.\n", file_), .lost = lost_};
  result.readable = !targets_.empty();
  for (const std::string& line : comments_) result.text += line + "\n";
  if (!discovery_.empty()) {
    result.text += "discovery {\n";
    for (const std::string& line : discovery_) result.text += "  " + line + "\n";
    result.text += "}\n";
  }
  if (!portals_.empty()) {
    result.text += "portal_group 1 {\n";
    for (const std::string& portal : portals_) result.text += "  portal " + portal + "\n";
    result.text += "}\n";
  }
  result.text += units_;
  for (const Target& target : targets_) {
    result.text += fmt::format("target {} {{\n", config_quoted(target.name));
    for (const std::string& line : target.lines) result.text += "  " + line + "\n";
    result.text += "}\n";
  }
  return result;
}

std::vector<std::string> import_words(std::string_view line) {
  std::vector<std::string> words;
  for (std::size_t at = 0; at < line.size();) {
    const char letter = line[at];
    if (letter == ' ' || letter == '\t' || letter == '\r') {
      ++at;
    } else if (letter == '#') {
      break;
    } else if (letter == '"') {
      const std::size_t end = std::min(line.find('"', at + 1), line.size());
      words.emplace_back(line.substr(at + 1, end - at - 1));
      at = end + 1;
    } else {
      const std::size_t end = std::min(line.find_first_of(" \t\r", at), line.size());
      words.emplace_back(line.substr(at, end - at));
      at = end;
    }
  }
  return words;
}

std::string import_lower(std::string_view text) {
  std::string low(text);
  for (char& letter : low) letter = static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
  return low;
}

std::string unit_name_of_path(std::string_view path) {
  std::string name(path.substr(path.rfind('/') + 1));
  if (const auto dot = name.rfind('.'); dot != name.npos && dot > 0) name.resize(dot);
  for (char& letter : name) {
    const bool fine =
        std::isalnum(static_cast<unsigned char>(letter)) || letter == '.' || letter == '-' || letter == '_';
    if (!fine) letter = '_';
  }
  while (!name.empty() && (name.front() == '.' || name.front() == '-')) name.erase(0, 1);
  if (name.size() > 48) name.resize(48);
  return name.empty() ? "disk" : name;
}

}  // namespace mpath::target
