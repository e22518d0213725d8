#include "target/edits.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "target/config/config_files.hpp"
#include "target/config/settings_table.hpp"

namespace mpath::target {
namespace {

std::unexpected<Refusal> refuse(Refusal::Kind kind, std::string line) {
  return std::unexpected(Refusal{kind, {std::move(line)}});
}

std::string called(const EditRequest& request) {
  return request.label.empty() ? request.kind : fmt::format("{} {}", request.kind, request.label);
}

bool begins_with(const std::vector<std::string>& words, const std::vector<std::string>& begin) {
  return words.size() >= begin.size() && std::equal(begin.begin(), begin.end(), words.begin());
}

Outcome<ConfigSection> read_section(const ConfigObject& object) {
  const auto tree = read_config(ConfigGrammar::blocks, object.origin.file);
  if (!tree) return refuse(Refusal::Kind::failed, fmt::format("{}: {}", object.origin.file, tree.error().message()));
  if (tree->root.sections.size() != 1)
    return refuse(Refusal::Kind::busy,
                  fmt::format("{} holds more than one object now: change it by hand", object.origin.file));
  return tree->root.sections.front();
}

Outcome<void> drop(ConfigSection& section, const EditRequest& request) {
  for (const ConfigEntry& gone : request.entries) {
    const auto erased = std::erase_if(section.entries, [&gone](const ConfigEntry& entry) {
      return entry.key == gone.key && begins_with(entry.words, gone.words);
    });
    if (erased == 0)
      return refuse(Refusal::Kind::not_found, fmt::format("{} has no {} {}", called(request), gone.key, gone.value));
  }
  return {};
}

Outcome<void> add(ConfigSection& section, const EditRequest& request) {
  for (const ConfigEntry& entry : request.entries) {
    const Setting* setting = target_settings().find(request.kind, entry.key);
    if (setting == nullptr)
      return refuse(Refusal::Kind::invalid, fmt::format("{} has no setting \"{}\"", request.kind, entry.key));
    if (!setting->repeatable) {
      std::erase_if(section.entries, [&entry](const ConfigEntry& each) { return each.key == entry.key; });
    } else if (std::ranges::any_of(section.entries, [&entry](const ConfigEntry& each) {
                 return each.key == entry.key && each.words == entry.words;
               })) {
      return refuse(Refusal::Kind::busy, fmt::format("{} has {} {} already", called(request), entry.key, entry.value));
    }
    section.entries.push_back(entry);
  }
  return {};
}

}  // namespace

Outcome<Edit> plan_edit(const Layout& layout, const ParsedConfig& now, const EditRequest& request) {
  const auto place = std::ranges::find_if(now.objects, [&request](const ConfigObject& object) {
    return object.kind == request.kind && object.label == request.label;
  });
  const bool there = place != now.objects.end();
  const bool makes =
      request.op == EditRequest::Op::create || (request.op == EditRequest::Op::add && request.create_missing);
  if (!there && !makes) return refuse(Refusal::Kind::not_found, fmt::format("there is no {}", called(request)));
  if (there && request.op == EditRequest::Op::create)
    return refuse(Refusal::Kind::busy, fmt::format("{} is there already: {}", called(request), place->origin.text()));
  if (there && !place->managed)
    return refuse(Refusal::Kind::busy, fmt::format("{} stands in {}, a file that mptargetctl does not change: edit it, "
                                                   "then mptargetctl reload",
                                                   called(request), place->origin.text()));
  if (request.op == EditRequest::Op::remove) return Edit{place->origin.file, std::nullopt};
  ConfigSection section{.name = request.kind, .label = request.label};
  if (there) {
    auto read = read_section(*place);
    if (!read) return std::unexpected(read.error());
    section = std::move(*read);
  }
  const auto done = request.op == EditRequest::Op::drop ? drop(section, request) : add(section, request);
  if (!done) return std::unexpected(done.error());
  const auto file =
      there ? std::filesystem::path(place->origin.file) : managed_file(layout, request.kind, request.label);
  return Edit{file, managed_text(section)};
}

}  // namespace mpath::target
